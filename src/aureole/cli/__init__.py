"""The commands: `aureole --help` lists them."""
