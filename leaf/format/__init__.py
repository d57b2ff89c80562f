"""How a segment is stored: frames, pages, dictionaries, zone maps, postings."""
