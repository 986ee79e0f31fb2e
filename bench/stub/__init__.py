"""Azure Storage, Partner Center and the managed identity endpoint in one cheap process, for the benchmark."""
