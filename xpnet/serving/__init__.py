"""A trained run as a web service: one endpoint that predicts, and a page to drop an image on."""
