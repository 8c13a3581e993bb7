/// Why some kernels take more than twice their floor. A kernel without a reason here must not.

enum KernelReasons {
  static let all: [String: String] = [:]
}
