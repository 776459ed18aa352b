"""Text from files, made plain before a person reads it: no header or file name forges a line of a log."""

import unicodedata

__all__ = ["HIDDEN_CATEGORIES", "has_hidden", "plain_text"]

HIDDEN_CATEGORIES = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode's control and format characters, halves of surrogates, separators of lines and paragraphs."""


def has_hidden(text, allowed=""):
    """
    Tell whether a text holds characters that a terminal obeys rather than shows.

    Parameters
    ----------
    text : str
        The text.
    allowed : str, optional
        Characters that may stand in it all the same.

    Returns
    -------
    bool
        Whether it does.
    """
    return any(unicodedata.category(c) in HIDDEN_CATEGORIES and c not in allowed for c in text)


def plain_text(text):
    r"""
    Write out the characters that a terminal obeys, such as line breaks and the escapes of colours.

    Parameters
    ----------
    text : str
        The text.

    Returns
    -------
    str
        One line, with ``\n``, ``\x1b`` and their like spelled as Python spells them.
    """
    if text.isprintable():
        return text
    return "".join(ascii(c)[1:-1] if has_hidden(c) else c for c in text)
