"""What specifications and users ask of us, as data, and the page that says which test shows it.

Each file of this folder is one source, and each entry one requirement. The tests that show it carry the mark
`@pytest.mark.requirement("file:id")`; one that no test can show says in `reason` why. What a specification asks of
clients, of other kinds of servers or of its own extensions is not listed. The wording is ours.
"""
