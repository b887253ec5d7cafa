"""What a page needs that draws figures by itself."""


def plotly_script() -> str:
    """The drawing library, as plotly.py carries it; nothing in it ends a script element."""
    from plotly.offline import get_plotlyjs

    return get_plotlyjs().replace("</script", "<\\/script")
