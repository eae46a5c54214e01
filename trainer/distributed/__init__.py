"""MAMDR on parameter servers, its section IV-E, with the servers of `tf.distribute`.

A chief schedules, workers run inner loops, servers hold the parameters (figure 6):

    cluster     the processes, as TF_CONFIG names them
    loads       which rows an inner loop reads, and how a worker reads them
    servers     the model's variables on the servers, pulled and pushed whole or by rows
    caches      what a worker has of them during an inner loop (figure 7)
    rules       optimizers that move caches, and servers' variables where they are
    loops       the functions that workers run: one inner loop each
    framework   an epoch of a framework as rounds of such loops
"""
