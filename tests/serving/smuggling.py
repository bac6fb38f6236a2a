"""Request heads and bodies that can be read in two ways."""

POST = b"POST /scope HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
HIDDEN = b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"

AMBIGUOUS = {
    "both lengths": b"Content-Length: 5\r\nTransfer-Encoding: chunked",
    "both lengths, other way round": b"Transfer-Encoding: chunked\r\nContent-Length: 5",
    "two lengths": b"Content-Length: 5\r\nContent-Length: 6",
    "one length twice": b"Content-Length: 5\r\nContent-Length: 5",
    "a list of lengths": b"Content-Length: 5, 5",
    "a longer coding": b"Transfer-Encoding: xchunked",
    "a coding after chunked": b"Transfer-Encoding: chunked, identity",
    "a coding before chunked": b"Transfer-Encoding: gzip, chunked",
    "identity": b"Transfer-Encoding: identity",
    "chunked twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "identity and chunked": b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    "a tab in chunked": b"Transfer-Encoding: chu\tnked",
    "a vertical tab": b"Transfer-Encoding: \x0bchunked",
    "quoted chunked": b'Transfer-Encoding: "chunked"',
    "chunked with a parameter": b"Transfer-Encoding: chunked;q=1",
    "no coding": b"Transfer-Encoding: ",
    "a sign": b"Content-Length: +5",
    "a minus": b"Content-Length: -5",
    "an underscore": b"Content-Length: 5_0",
    "hexadecimal": b"Content-Length: 0x5",
    "no length": b"Content-Length: ",
    "two numbers": b"Content-Length: 5 5",
    "full-width digit": "Content-Length: \uff15".encode(),
    "more than 64 bits": b"Content-Length: 18446744073709551616",
    "space before the colon": b"Transfer-Encoding : chunked",
    "space before the colon of a length": b"Content-Length : 5",
    "a folded line": b"X: a\r\n Content-Length: 5",
    "a folded coding": b"Transfer-Encoding:\r\n chunked",
    "a bare line feed": b"X: a\nContent-Length: 5",
    "a bare carriage return": b"X: a\rContent-Length: 5",
    "a NUL in a value": b"X: a\x00b",
    "a NUL in a name": b"X\x00: a",
    "a control character": b"X: \x7f",
    "no colon": b"X",
    "no name": b": a",
    "a blank in a name": b"X y: a",
    "a second Host": b"Host: b",
}

BAD_CHUNKS = [
    b"10000000000000000\r\nhello\r\n",
    b"-5\r\nhello\r\n0\r\n\r\n",
    b"+5\r\nhello\r\n0\r\n\r\n",
    b"0x5\r\nhello\r\n0\r\n\r\n",
    b"5 \r\nhello\r\n0\r\n\r\n",
    b"5\nhello\n0\n\n",
    b"5\r\nhelloX\r\n0\r\n\r\n",
    b"5;\n\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhello\r\n0\r\nTrailer: x\nY: z\r\n\r\n",
    b"G\r\n",
    b"\r\n",
]
