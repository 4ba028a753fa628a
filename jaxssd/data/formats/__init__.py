"""The formats on disk that a data set may have; `registry` chooses among them."""
