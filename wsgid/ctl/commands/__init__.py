"""The subcommands of wsgidctl, one module for each. top_sample.py and top_screen.py belong to top."""
