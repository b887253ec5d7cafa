"""Explore and Compare give their numbers away."""


def test_explore_and_compare_offer_their_numbers(explore, page, folder):
    shown = explore(text="Quill kept a lamp. Then Quill").healthy()
    assert [b.proto.label for b in shown.test.get("download_button")] == [
        "CSV", "Parquet", "NumPy (.npz)", "Notebook (.ipynb)"
    ]  # fmt: skip
    beside = page("compare", model=folder, text="Quill kept a lamp. Then Quill").healthy()
    assert [b.proto.label for b in beside.test.get("download_button")] == [
        "CSV", "Parquet", "NumPy (.npz)"
    ]  # fmt: skip
