"""Whether a scan whose heart was found can be scored, from its pixels: headers lie. Pure."""
