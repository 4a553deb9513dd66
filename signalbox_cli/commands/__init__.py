"""One module for each thing that people do; each parses, asks the API and prints."""
