"""The broker that other tests use: it keeps acknowledged records over a kill."""

from confluent_kafka import Consumer, TopicPartition
from kafka_broker import Broker
from kafka_cluster import KafkaCluster


def test_a_killed_broker_comes_back_with_its_records(
    kafka: KafkaCluster, kafka_broker: Broker
) -> None:
    topic = kafka.new_topic()
    assert kafka.produce(topic, [b"a", b"b"]) == [0, 1]
    kafka_broker.kill()
    kafka_broker.start()
    assert kafka.produce(topic, [b"c"]) == [2]
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "test"})
    consumer.assign([TopicPartition(topic, 0, 0)])
    assert [message.value() for message in consumer.consume(3, 20)] == [b"a", b"b", b"c"]
    consumer.close()
