// A folder as a page: its names, as links.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace heddle::http {

struct FolderEntry {
  std::string name;
  bool is_folder = false;
};

/// Names of a folder that are read at most: a bound for time and memory.
inline constexpr std::size_t kMaxFolderEntries = 10'000;

/// Which names are shown.
struct FolderView {
  bool dotfiles = false;
  bool links = false;  // symbolic links, as files
};

/// The files and folders in the open folder `fd`, sorted by name; kMaxFolderEntries + 1 of them if there are more than
/// that many. Nothing but files and folders is shown. May wait for the disk: for a helper thread. Returns 0 or an
/// errno. Throws std::bad_alloc.
[[nodiscard]] int read_folder(int fd, const FolderView& view, std::vector<FolderEntry>& entries);

/// HTML of the folder at the decoded path `title`; `up`: with a link to the folder above. Every name is escaped, for
/// HTML and as a URL that stays in the folder: whoever may make files must not be able to make markup.
[[nodiscard]] std::string folder_page(std::string_view title, bool up, const std::vector<FolderEntry>& entries);

}  // namespace heddle::http
