#include <heddle/http/internal/folder_page.h>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include <heddle/http/internal/target.h>

namespace heddle::http {
namespace {

struct CloseFolder {
  void operator()(DIR* folder) const noexcept { ::closedir(folder); }
};

mode_t kind_of(int folder, const dirent& entry) noexcept {
  if (entry.d_type != DT_UNKNOWN) return DTTOIF(entry.d_type);
  struct stat status {};
  return ::fstatat(folder, entry.d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 ? status.st_mode & S_IFMT : 0;
}

void escape(std::string_view text, std::string& out) {
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      default: out += c;
    }
  }
}

}  // namespace

int read_folder(int fd, const FolderView& view, std::vector<FolderEntry>& entries) {
  const int own = ::openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);  // with a position of its own
  if (own < 0) return errno;
  const std::unique_ptr<DIR, CloseFolder> folder(::fdopendir(own));
  if (folder == nullptr) {
    const int error = errno;
    ::close(own);
    return error;
  }
  while (entries.size() <= kMaxFolderEntries) {
    errno = 0;
    const dirent* const entry = ::readdir(folder.get());
    if (entry == nullptr) {
      if (errno != 0) return errno;
      break;
    }
    const std::string_view name = entry->d_name;
    if (name == "." || name == ".." || (name.front() == '.' && !view.dotfiles)) continue;
    const mode_t kind = kind_of(fd, *entry);
    const bool shown = S_ISREG(kind) || S_ISDIR(kind) || (S_ISLNK(kind) && view.links);
    if (shown) entries.push_back({std::string(name), S_ISDIR(kind)});
  }
  std::ranges::sort(entries, {}, &FolderEntry::name);
  return 0;
}

std::string folder_page(std::string_view title, bool up, const std::vector<FolderEntry>& entries) {
  std::string page = "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>";
  escape(title, page);
  page += "</title></head>\n<body>\n<h1>";
  escape(title, page);
  page += "</h1>\n<ul>\n";
  if (up) page += "<li><a href=\"../\">../</a></li>\n";
  const std::size_t shown = std::min(entries.size(), kMaxFolderEntries);
  std::string link;
  for (std::size_t i = 0; i < shown; ++i) {
    link.clear();
    encode_segment(entries[i].name, link);
    page += "<li><a href=\"./";  // or "a:b" would be a URL of its own
    escape(link, page);
    if (entries[i].is_folder) page += '/';
    page += "\">";
    escape(entries[i].name, page);
    if (entries[i].is_folder) page += '/';
    page += "</a></li>\n";
  }
  page += "</ul>\n";
  if (shown < entries.size()) page += "<p>There are more.</p>\n";
  page += "</body>\n</html>\n";
  return page;
}

}  // namespace heddle::http
