"""Compression by a model: bits-back coding down the walk that trains it."""

from taut.codec.archive import Archive, compressed, decompressed
from taut.codec.bitsback import Message, compress, decompress
from taut.codec.check import require_codable

__all__ = ["Archive", "Message", "compress", "compressed", "decompress", "decompressed", "require_codable"]
