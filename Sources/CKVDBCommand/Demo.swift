internal import ArgumentParser
struct Demo: ParsableCommand { }
