"""Names of files that come from somebody else, and endings that are chosen for them (M1, A2)."""

from __future__ import annotations

MAX_NAME_BYTES = 255
"""What the usual file systems allow."""

UNKNOWN_TYPE = "application/octet-stream"

_BY_TYPE = {
    "application/epub+zip": "epub",
    "application/gzip": "gz",
    "application/json": "json",
    "application/msword": "doc",
    "application/ogg": "ogg",
    "application/pdf": "pdf",
    "application/rtf": "rtf",
    "application/vnd.ms-excel": "xls",
    "application/vnd.ms-powerpoint": "ppt",
    "application/vnd.oasis.opendocument.presentation": "odp",
    "application/vnd.oasis.opendocument.spreadsheet": "ods",
    "application/vnd.oasis.opendocument.text": "odt",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/x-7z-compressed": "7z",
    "application/x-tar": "tar",
    "application/x-tgsticker": "tgs",
    "application/xml": "xml",
    "application/yaml": "yaml",
    "application/zip": "zip",
    "audio/aac": "aac",
    "audio/amr": "amr",
    "audio/flac": "flac",
    "audio/m4a": "m4a",
    "audio/mp3": "mp3",
    "audio/mp4": "m4a",
    "audio/mpeg": "mp3",
    "audio/ogg": "ogg",
    "audio/opus": "opus",
    "audio/vnd.wave": "wav",
    "audio/wav": "wav",
    "audio/wave": "wav",
    "audio/webm": "weba",
    "audio/x-flac": "flac",
    "audio/x-m4a": "m4a",
    "audio/x-wav": "wav",
    "image/apng": "apng",
    "image/avif": "avif",
    "image/bmp": "bmp",
    "image/gif": "gif",
    "image/heic": "heic",
    "image/heif": "heif",
    "image/jpeg": "jpg",
    "image/jpg": "jpg",
    "image/png": "png",
    "image/svg+xml": "svg",
    "image/tiff": "tiff",
    "image/webp": "webp",
    "image/x-icon": "ico",
    "text/calendar": "ics",
    "text/css": "css",
    "text/csv": "csv",
    "text/html": "html",
    "text/javascript": "js",
    "text/markdown": "md",
    "text/plain": "txt",
    "text/tab-separated-values": "tsv",
    "text/vcard": "vcf",
    "text/xml": "xml",
    "text/x-python": "py",
    "video/3gpp": "3gp",
    "video/mp4": "mp4",
    "video/mpeg": "mpg",
    "video/ogg": "ogv",
    "video/quicktime": "mov",
    "video/webm": "webm",
    "video/x-matroska": "mkv",
    "video/x-msvideo": "avi",
}
"""A table of our own: what the system has to say about types differs from machine to machine."""

_USUAL_TYPES = {
    "flac": "audio/flac",
    "htm": "text/html",
    "jpeg": "image/jpeg",
    "log": "text/plain",
    "m4a": "audio/mp4",
    "mp3": "audio/mpeg",
    "ogg": "audio/ogg",
    "tif": "image/tiff",
    "wav": "audio/wav",
    "yml": "application/yaml",
}
_BY_ENDING = {ending: name for name, ending in reversed(_BY_TYPE.items())} | _USUAL_TYPES

_BY_KIND = {
    "animation": "mp4",
    "audio": "mp3",
    "image": "jpg",
    "photo": "jpg",
    "sticker": "webp",
    "video": "mp4",
    "video_note": "mp4",
    "voice": "ogg",
}


def safe_name(name: object) -> str | None:
    r"""The name if it can only be the name of a file in one folder, else None (A2).

    It is safe when it is a non-empty string, not ``.`` or ``..``, without ``/``, ``\`` and NUL, and
    so its own base name. What no file system takes, or no protocol can carry, is not safe either:
    more than `MAX_NAME_BYTES` bytes, or what cannot be written as UTF-8.
    """
    if not isinstance(name, str) or name in ("", ".", ".."):
        return None
    if any(character in name for character in "/\\\0"):
        return None
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        return None
    return name if len(encoded) <= MAX_NAME_BYTES else None


def extension_for(mime_type: str | None, kind: str | None) -> str:
    """The ending of a name, by MIME type, else by the kind of media, else none.

    Args:
        mime_type: As it was sent, with or without parameters; case does not matter.
        kind: What the channel calls it, such as ``photo`` or ``voice``.

    Returns:
        The ending with its dot, such as ``.jpg``, or an empty string.
    """
    essence = (mime_type or "").partition(";")[0].strip().lower()
    ending = _BY_TYPE.get(essence) or _BY_KIND.get((kind or "").lower())
    return f".{ending}" if ending else ""


def name_for(stem: str, mime_type: str | None, kind: str | None) -> str:
    """A name for a file that came without one: a generated stem with `extension_for`."""
    return stem + extension_for(mime_type, kind)


def mime_type_of(name: str) -> str:
    """The MIME type that a file's name speaks of; `UNKNOWN_TYPE` when of none."""
    _, dot, ending = name.rpartition(".")
    return _BY_ENDING.get(ending.lower() if dot else "", UNKNOWN_TYPE)
