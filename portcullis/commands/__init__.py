"""One module per subcommand; `portcullis.cli.main` says which there are."""
