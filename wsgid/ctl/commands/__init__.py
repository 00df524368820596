"""The subcommands of wsgidctl, one module each; top_sample.py and top_screen.py are top's."""
