"""Reading files: numbers of rows, and malformed rows."""

import pytest

from collector.files.csv_file import CsvFile
from collector.files.ndjson_file import NdjsonFile
from collector.files.options import FileError


def test_rows_are_numbered_as_in_a_spreadsheet(tmp_path):
    """The header is row 1, and malformed rows have a number too."""
    path = tmp_path / "a.csv"
    path.write_text('time,x\n2024-01-01,1\nbad\n"2024-01-02",2\na,b,c\n2024-01-03,3\nend')
    found = list(CsvFile(path).chunks(["time", "x"], 100))
    assert [number for one in found for number in one.numbers.tolist()] == [2, 4, 6]
    assert [row[:2] for one in found for row in one.malformed] == [(3, "bad"), (5, "a,b,c"), (7, "end")]


def test_quoted_cells(tmp_path):
    """Quoted cells may contain delimiters, line ends and doubled quotation marks (RFC 4180)."""
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbf"time","x"\r\n"a,""b""\r\nc","1"\r\n')
    file = CsvFile(path)
    [found] = file.chunks(file.columns, 100)
    assert [column.to_pylist() for _, column in found.columns] == [[b'a,"b"\r\nc'], [b"1"]]


def test_unclosed_quotation_mark(tmp_path):
    """An unclosed quotation mark fails the file with the row where it begins."""
    path = tmp_path / "a.csv"
    path.write_text('time,x\n2024-01-01,1\n2024-01-02,"2\n' + "2024-01-03,3\n" * 100_000)
    with pytest.raises(FileError, match=r"from row 2 .* close the quotation mark"):
        list(CsvFile(path).chunks(["time", "x"], 100))


@pytest.mark.parametrize("content", ["time,x\n1,2\n".encode("utf-16"), b"\0" * 100])
def test_other_encodings(content, tmp_path):
    """A file that is not UTF-8 text is refused as a whole."""
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(FileError, match="UTF-8"):
        CsvFile(path)


def test_progress_reaches_the_end(tmp_path):
    """The reported part of the file grows from 0 to 1."""
    path = tmp_path / "a.csv"
    path.write_text("time,x\n" + "2024-01-03,3\n" * 700_000)
    file = CsvFile(path)
    seen = [file.done() for _ in file.chunks(["time", "x"], 1000)]
    assert seen == sorted(seen)
    assert 0 < seen[0] < 0.6
    assert seen[-1] == 1


def test_lines_are_numbered(tmp_path):
    """Lines have the numbers of an editor; empty ones are skipped, and the last needs no line end."""
    path = tmp_path / "a.ndjson"
    path.write_bytes(b'{"a":1}\n\n  \r\n{"b":2}\r\n{"c":')
    assert list(NdjsonFile(path).lines()) == [(1, b'{"a":1}'), (4, b'{"b":2}'), (5, b'{"c":')]


def test_lines_longer_than_a_block(tmp_path):
    """A line may be longer than a block of the file."""
    path = tmp_path / "a.ndjson"
    long = b'"' + b"x" * 3_500_000 + b'"'
    path.write_bytes(b"1\n" + long + b"\n2\n")
    assert list(NdjsonFile(path).lines()) == [(1, b"1"), (2, long), (3, b"2")]
