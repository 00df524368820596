"""Tests of single modules, without a server. The directories mirror the packages."""
