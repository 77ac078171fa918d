"""Reading files: numbers of rows, and malformed rows."""

import pytest

from collector.files.csv_file import CsvFile
from collector.files.ndjson_file import NdjsonFile
from collector.files.options import FileError, TextOptions


def test_rows_are_numbered_as_in_a_spreadsheet(tmp_path):
    """The header is row 1, and malformed rows have a number too."""
    path = tmp_path / "a.csv"
    path.write_text('time,x\n2024-01-01,1\nbad\n"2024-01-02",2\na,b,c\n2024-01-03,3\nend')
    chunks = list(CsvFile(path).chunks(["time", "x"], 100))
    assert [number for chunk in chunks for number in chunk.numbers.tolist()] == [2, 4, 6]
    assert [row[:2] for chunk in chunks for row in chunk.malformed] == [(3, "bad"), (5, "a,b,c"), (7, "end")]


def test_quoted_cells(tmp_path):
    """Quoted cells may contain delimiters, line ends and doubled quotation marks (RFC 4180)."""
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbf"time","x"\r\n"a,""b""\r\nc","1"\r\n')
    file = CsvFile(path)
    [chunk] = file.chunks(file.columns, 100)
    assert [column.to_pylist() for _, column in chunk.columns] == [[b'a,"b"\r\nc'], [b"1"]]


def test_unclosed_quotation_mark(tmp_path):
    """An unclosed quotation mark fails the file with the row where it begins."""
    path = tmp_path / "a.csv"
    path.write_text('time,x\n2024-01-01,1\n2024-01-02,"2\n' + "2024-01-03,3\n" * 100_000)
    with pytest.raises(FileError, match=r"from row 2 .* close the quotation mark"):
        list(CsvFile(path).chunks(["time", "x"], 100))


def read(path, text=None, columns=("time", "x")) -> list[list[bytes | None]]:
    """Return the rows of a CSV file."""
    [chunk] = CsvFile(path, text=text).chunks(list(columns), 100)
    return [list(row) for row in zip(*(column.to_pylist() for _, column in chunk.columns), strict=True)]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings_are_detected(encoding, tmp_path):
    """A byte order mark, or the NUL characters of UTF-16, name the encoding."""
    path = tmp_path / "a.csv"
    path.write_bytes("time,x\r\n1,°C\r\n".encode(encoding))
    assert read(path) == [[b"1", "°C".encode()]]


def test_encoding_option(tmp_path):
    """--encoding is the encoding of a file without a mark."""
    path = tmp_path / "a.csv"
    path.write_bytes("time,T °C\n1,2\n".encode("windows-1252"))
    assert read(path, TextOptions(encoding="windows-1252"), ("time", "T °C")) == [[b"1", b"2"]]


def test_another_encoding_is_reported(tmp_path):
    """Column names that are not UTF-8 are an error that names the option."""
    path = tmp_path / "a.csv"
    path.write_bytes("time,T °C\n1,2\n".encode("windows-1252"))
    with pytest.raises(FileError, match=r"column names are not in utf-8 .*--encoding windows-1252"):
        CsvFile(path)


def test_binary_file_is_refused(tmp_path):
    """A file that is not text is refused as a whole."""
    path = tmp_path / "a.csv"
    path.write_bytes(b"\0" * 100)
    with pytest.raises(FileError, match="not a text file"):
        CsvFile(path)


TOA5 = '"TOA5","x"\n"time","x"\n"TS","%"\n"",""\n1,2\n3,4\n'


def test_lines_before_the_rows(tmp_path):
    """--header-line names the header and --skip-lines the lines before the rows; rows keep their numbers."""
    path = tmp_path / "a.csv"
    path.write_text(TOA5)
    [chunk] = CsvFile(path, text=TextOptions(header_line=2, skip_lines=4)).chunks(["time", "x"], 100)
    assert chunk.numbers.tolist() == [5, 6]
    assert chunk.columns[0][1].to_pylist() == [b"1", b"3"]


def test_lines_before_the_header(tmp_path):
    """The header is the next line after those that --skip-lines skips."""
    path = tmp_path / "a.csv"
    path.write_text('"Plot"\n\ntime,x\n1,2\n')
    assert read(path, TextOptions(skip_lines=1)) == [[b"1", b"2"]]


def test_title_instead_of_header_is_reported(tmp_path):
    """A first line with fewer cells than all rows is an error that names the options."""
    path = tmp_path / "a.csv"
    path.write_text('"Plot"\ntime,x\n1,2\n')
    with pytest.raises(FileError, match=r"line 1 has 1 cells and the rows after it have 2; .*--skip-lines"):
        CsvFile(path)


def test_more_lines_to_skip_than_lines(tmp_path):
    """A header behind the end of the file is an error that names the options."""
    path = tmp_path / "a.csv"
    path.write_text("time,x\n")
    with pytest.raises(FileError, match="only 1 lines; correct --skip-lines"):
        CsvFile(path, text=TextOptions(skip_lines=3))


def test_comments(tmp_path):
    """Lines that begin with --comment are no rows, wherever they are."""
    path = tmp_path / "a.csv"
    path.write_text("# a\n# b\ntime,x\n1,2\n# c\n3,4\n#")
    assert read(path, TextOptions(comment="#")) == [[b"1", b"2"], [b"3", b"4"]]


def test_comments_across_blocks(tmp_path):
    """Comments and characters of several bytes are read across blocks."""
    path = tmp_path / "a.csv"
    text = "time,x\n" + "1,é\n# comment\n" * 200_000
    path.write_bytes(text.encode("utf-16"))
    chunks = list(CsvFile(path, text=TextOptions(comment="#")).chunks(["time", "x"], 1_000_000))
    assert {cell for chunk in chunks for cell in chunk.columns[1][1].to_pylist()} == {"é".encode()}
    assert sum(len(chunk.numbers) for chunk in chunks) == 200_000


@pytest.mark.parametrize("content", ["time,x\n1,2,\n3,4,\n", "time,x,\n1,2\n3,4\n", "time,x,\n1,2,\n3,4,\n"])
def test_delimiter_too_many(content, tmp_path):
    """A delimiter too many behind the rows or the header is no cell."""
    path = tmp_path / "a.csv"
    path.write_text(content)
    assert read(path) == [[b"1", b"2"], [b"3", b"4"]]


@pytest.mark.parametrize(
    ("cell", "form"),
    [("27.03.2024 14:05:00", "%d.%m.%Y %H:%M:%S"), ("03/27/2024 02:05:00 PM", "%m/%d/%Y %I:%M:%S %p")],
)
def test_other_times_are_reported(cell, form, tmp_path):
    """Times that are not ISO 8601 are an error that proposes a format."""
    path = tmp_path / "a.csv"
    path.write_text(f"time,x\n{cell},2\n")
    with pytest.raises(FileError, match="name their format with --time-format") as caught:
        CsvFile(path).time_unit("time", None)
    assert str(caught.value).endswith(f"'{form}'")


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


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_lines_of_other_encodings(encoding, tmp_path):
    """A byte order mark is no part of the first line, and UTF-16 is read."""
    path = tmp_path / "a.ndjson"
    path.write_bytes('{"a":"°"}\r\n\r\n{"b":2}\r\n   \r\n'.encode(encoding))
    assert list(NdjsonFile(path).lines()) == [(1, '{"a":"°"}'.encode()), (3, b'{"b":2}')]


ELEMENTS = ['{"a": [1, {"b": 2}], "c": "}]\\"\\\\,"}', "1", '"x"', '{"é": "[,"}', "null"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_elements_of_an_array(size, tmp_path, monkeypatch):
    """The elements of one JSON array are lines, wherever the blocks that are read end."""
    monkeypatch.setattr("collector.files.ndjson_file._BLOCK", size)
    path = tmp_path / "a.ndjson"
    path.write_text("\n [" + " ,\n".join(ELEMENTS) + "]\n")
    assert [(number, line.decode()) for number, line in NdjsonFile(path).lines()] == list(enumerate(ELEMENTS, 1))


def test_empty_array(tmp_path):
    """An empty array has no lines."""
    path = tmp_path / "a.ndjson"
    path.write_text("[ ]\n")
    assert list(NdjsonFile(path).lines()) == []


@pytest.mark.parametrize("content", ['[{"a": 1}, {"b"', '[{"a": 1},\n{"a": "', '[{"a": 1}] x'])
def test_array_that_is_not_closed(content, tmp_path):
    """An array that is cut off is an error after its whole elements."""
    path = tmp_path / "a.ndjson"
    path.write_text(content)
    lines = NdjsonFile(path).lines()
    assert next(lines) == (1, b'{"a": 1}')
    with pytest.raises(FileError, match="not closed after element 1"):
        next(lines)
