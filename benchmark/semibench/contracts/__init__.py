"""The contracts that plugins fulfil. Import the names from `semibench`."""
