"""What makes the documentation from the code: references, the client's types, the site.

A tool of developers and CI, as the tests are; no part of the installed package.
"""
