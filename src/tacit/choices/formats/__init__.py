"""Log formats: the forms in which people have preferences, each read into rows of our own form.

A format is one file here, or anywhere if it registers itself: a subclass of `LogFormat`, `@formats.register(name)`.
"""

from tacit.choices.formats.log_format import LogFormat, Row, formats, recognise

__all__ = ["LogFormat", "Row", "formats", "recognise"]
