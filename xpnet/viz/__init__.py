"""Pictures of training and of networks, by matplotlib (extra: viz). Imported only where a picture is asked for."""
