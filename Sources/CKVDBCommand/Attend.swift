internal import ArgumentParser
struct Attend: ParsableCommand { }
struct Dump: ParsableCommand { }
struct Demo: ParsableCommand { }
