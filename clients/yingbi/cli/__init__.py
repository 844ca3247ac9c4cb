"""The command line: the SDK's words for a shell."""
