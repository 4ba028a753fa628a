"""The formats on disk that a data set may have; `data.sources` chooses among them."""
