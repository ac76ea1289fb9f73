"""One module per subcommand; `portcullis.cli` says which there are."""
