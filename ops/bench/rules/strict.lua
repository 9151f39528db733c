-- rule: the highest priority first, the oldest within it.
local TARGET_MS = { high = 1, normal = 1, low = 1 }
local URGENCY = { high = 3, normal = 2, low = 1 }

local function choose_group(groups)
  local first
  for _, group in ipairs(groups) do
    if group.t then
      local ahead = first and URGENCY[group.priority] - URGENCY[first.priority] or 1
      if ahead > 0 or (ahead == 0 and group.t < first.t) then first = group end
    end
  end
  return first
end
