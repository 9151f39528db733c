-- rule: first come, first served, whatever the priority and the model.
local TARGET_MS = { high = 1, normal = 1, low = 1 }

local function choose_group(groups)
  local first
  for _, group in ipairs(groups) do
    if group.t and (not first or group.t < first.t) then first = group end
  end
  return first
end
