"""The requirements of specifications and users, as data, and the page that names the tests for each.

Each file of this folder is one source, and each entry one requirement. The tests that prove it carry the mark
`@pytest.mark.requirement("file:id")`; one that no test can prove gives a `reason`. Requirements for clients,
for other kinds of servers and for extensions are not listed. The wording is ours.
"""
