"""Comparisons of transfer methods over periods of time (CTNet, section 4).

models    trained models of one seed, each trained once for all methods
methods   what a method trains, on which days, from which model
run       trains all methods with all seeds and scores them on the day after each period
tables    CTNet's Tables 2 to 5
"""
