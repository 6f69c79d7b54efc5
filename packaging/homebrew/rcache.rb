# Homebrew on Linux: `brew install --formula packaging/homebrew/rcache.rb` in a checkout of a release.
class Rcache < Formula
  desc "Compiler cache for C and C++ with a compile cluster behind it"
  license any_of: ["MIT", "Apache-2.0"]
  head "file://#{File.expand_path("../..", __dir__)}", using: :git, branch: "main"

  depends_on "rust" => :build
  depends_on :linux

  def install
    system "cargo", "install", *std_cargo_args
    libexec.mkpath
    man1.mkpath
    system bin/"rcache", "man", man1
    generate_completions_from_executable(bin/"rcache", "completions", shells: [:bash, :zsh, :fish])
    (share/"cmake/rcache").install "cmake/rcache.cmake"
  end

  def caveats
    <<~EOS
      Symlinks for PATH, so that no build file changes:
        rcache link ~/.local/lib/rcache
    EOS
  end

  test do
    ENV["RCACHE_DIR"] = testpath/"cache"
    (testpath/"a.c").write "int main(void) { return 0; }"
    2.times { system bin/"rcache", "gcc", "-c", "a.c" }
    assert_match "direct hits", shell_output("#{bin}/rcache stats")
    system bin/"rcache", "daemon", "stop"
  end
end
