"""Helpers that several tests share: small plug-ins, data sets, run folders and processes."""
