"""What a person chose: its one owner, and widgets that are linked to it."""
