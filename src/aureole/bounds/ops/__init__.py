"""One file per operator family: its interval rule, its backward rule on dense rows and on patches."""
