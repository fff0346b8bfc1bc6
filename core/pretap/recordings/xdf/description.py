"""Parses the XML description of a stream in an XDF file. Used by `load` and `recorded_stream`.

Recorders copy what a device's program wrote, which is not always valid XML in UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from pretap.recordings.xdf.chunks import DamagedError

_NOT_XML = re.compile(
    "[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
    r"|&#(?:x0*(?:1?[0-9a-fA-F])|0*(?:[12]?\d|3[01]));"
)
_BARE_AMPERSAND = re.compile(r"&(?!\w+;|#\w+;)")
_FIELD = re.compile(r"<(name|type|channel_count|channel_format|nominal_srate|source_id)>([^<]*)</\1>")
_LABELS = ("label", "name", "channel_name", "electrode")
_UNITS = ("unit", "units")


def parse_xml(content: bytes) -> Element:
    """Parse the XML of a chunk; characters that XML forbids become question marks.

    Raises
    ------
    DamagedError
        If it is not XML even so.
    """
    text = decode(content)
    try:
        return ElementTree.fromstring(text)  # noqa: S314 - expat refuses entity bombs
    except ElementTree.ParseError:
        text = _BARE_AMPERSAND.sub("&amp;", _NOT_XML.sub("?", text))
    try:
        return ElementTree.fromstring(text)  # noqa: S314
    except (ElementTree.ParseError, ValueError) as error:
        raise DamagedError(f"its XML is damaged: {error}") from error


def decode(content: bytes) -> str:
    """Return the text of bytes in UTF-8 or, if they are not, in Latin-1, without a byte-order mark."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
        text = text.removeprefix("\xef\xbb\xbf")
    return text.removeprefix("\ufeff").strip("\0 \t\r\n")


def essential_fields(content: bytes) -> Element:
    """Return the fields of a damaged description that lie before its channels."""
    info = Element("info")
    for key, text in _FIELD.findall(decode(content).partition("<desc>")[0]):
        if info.find(key) is None:
            ElementTree.SubElement(info, key).text = text
    return info


def text_of(node: Element | None, *keys: str) -> str:
    """Return the text of the first child with one of these names that has any; upper and lower case are the same."""
    children = [] if node is None else list(node)
    for key in keys:
        for child in children:
            if child.tag.lower() == key and (child.text or "").strip():
                return (child.text or "").strip()
    return ""


def channels_of(info: Element) -> list[dict[str, str]]:
    """Return label, unit and type of each channel that the description names, in their order.

    liblsl's convention is ``desc/channels/channel/label``. Some programs write the label as ``name``, or write it as
    the text of ``channel``, or put ``channels`` deeper into the description.
    """
    desc = info.find("desc")
    for channels in [] if desc is None else [each for each in desc.iter() if each.tag.lower() == "channels"]:
        nodes = [each for each in channels if each.tag.lower() == "channel"]
        if nodes:
            return [_channel(each) for each in nodes]
        labels = [(each.text or "").strip() for each in channels if each.tag.lower() in _LABELS]
        if labels:
            return [{"label": label, "unit": "", "type": ""} for label in labels]
    return []


def _channel(node: Element) -> dict[str, str]:
    label = text_of(node, *_LABELS) or _attribute(node, _LABELS) or (node.text or "").strip()
    unit = text_of(node, *_UNITS) or _attribute(node, _UNITS)
    return {"label": label, "unit": unit, "type": text_of(node, "type") or _attribute(node, ("type",))}


def _attribute(node: Element, keys: Sequence[str]) -> str:
    return next((node.attrib[key].strip() for key in keys if key in node.attrib), "")
