"""Whole columns of files: numbers, times, and the readings that are plainly right."""
