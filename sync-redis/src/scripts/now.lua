read_clock()

