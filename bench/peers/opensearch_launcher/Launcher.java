import org.codelibs.opensearch.runner.OpenSearchRunner;

/** One OpenSearch node on loopback, until its standard input ends. Arguments: folder, two ports. */
public class Launcher {
    public static void main(String[] arguments) throws Exception {
        OpenSearchRunner runner = new OpenSearchRunner();
        runner.onBuild((number, settings) -> {
            settings.put("network.host", "127.0.0.1");
            settings.put("http.port", arguments[1]);
            settings.put("transport.port", arguments[2]);
            settings.put("discovery.type", "single-node");
        });
        runner.build(OpenSearchRunner.newConfigs()
            .basePath(arguments[0]).numOfNode(1).clusterName("bench").useLogger());
        while (System.in.read() >= 0) { }
        runner.close();
        System.exit(0);
    }
}
