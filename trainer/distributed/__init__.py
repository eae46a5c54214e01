"""Training on parameter servers (MAMDR, section IV-E), with the servers of `tf.distribute`.

The chief plans, workers run inner loops, and servers hold the parameters (figure 6):

    tf_config         the processes, as TF_CONFIG names them
    listening         ports: reserved, restricted to an interface, waited for
    serving           the process of a worker or a parameter server
    cluster           the workers and servers, as the chief uses them
    plans             which rows an inner loop reads, in which batches
    chunks            those rows as tensors, and how a worker goes through them
    reading           the op by which a worker reads rows
    servers           the model's variables on the servers, pulled and pushed whole or by rows
    caches            a worker's copy of them during an inner loop (figure 7)
    rules             update rules of optimizers, for caches and for the servers' variables
    local_variable    variables that live as long as one call of a function
    loops             the functions that workers run: one inner loop each
    framework         the epochs of a framework as rounds of such loops
"""
