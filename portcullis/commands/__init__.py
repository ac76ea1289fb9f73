"""One module per subcommand; `portcullis.cli.main` lists them."""
