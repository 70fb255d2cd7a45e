"""Where the numbers of the documents come from: a module a page, a line a claim.

To add a number to a page, add a line to its module: the words around the number as they
stand on the page, with a replacement field where each number is, and a function that
computes the numbers from a committed file (`claims.committed` has the usual ones).
`tests/pages/test_claims.py` fills the fields in and looks for the words on the page; it
then asks of every other number on the page whether it is of a kind that needs no source
(`claims.pages`).
"""
