-- rule: all of the resident model's jobs by priority, then the model of the oldest job of all.
local TARGET_MS = { high = 1, normal = 1, low = 1 }
local URGENCY = { high = 3, normal = 2, low = 1 }

local function most_urgent(groups, model)
  local first
  for _, group in ipairs(groups) do
    if group.t and group.model == model then
      local ahead = first and URGENCY[group.priority] - URGENCY[first.priority] or 1
      if ahead > 0 or (ahead == 0 and group.t < first.t) then first = group end
    end
  end
  return first
end

local function choose_group(groups, resident)
  local own = most_urgent(groups, resident)
  if own then return own end
  local first
  for _, group in ipairs(groups) do
    if group.t and (not first or group.t < first.t) then first = group end
  end
  return first and most_urgent(groups, first.model)
end
