"""Only the section is replaced."""

from benchmarks.result_files import with_section

PAGE = "# Page\n\nWords.\n\n## Figures\n\nold\n\n### Part\n\nold\n\n## Last\n\nkept\n"


def test_a_section_is_replaced_to_the_next_of_its_rank():
    actual = with_section(PAGE, "Figures", "new\n")
    assert actual == "# Page\n\nWords.\n\n## Figures\n\nnew\n\n## Last\n\nkept\n"
    assert with_section(actual, "Figures", "new") == actual


def test_the_last_section_and_a_new_one_end_the_page():
    assert with_section(PAGE, "Last", "new").endswith("old\n\n## Last\n\nnew\n")
    assert with_section(PAGE, "More", "new").endswith("## Last\n\nkept\n\n## More\n\nnew\n")
