"""Comparisons over periods of time (CTNet, section 4): every method walks the same days.

    walk      the models of one seed, each trained once, whichever methods use it
    recipes   what a method trains, on what, from what
    run       all methods with all seeds, and what they score on the days after the periods
    tables    CTNet's Tables 2 to 5
"""
