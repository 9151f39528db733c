-- ledger: what every script shares: server time, the counters of I1, the event stream.
-- Changes are gathered in tables and written once by close(), so that a call over many jobs
-- costs one command per counter and not one per job and counter. Numbers go to Redis as text: it would
-- print each as a float, which takes longer than many a command.
--
-- KEYS  counts    HASH    class|state → jobs
--       tallies   HASH    what|lane → how often that ever happened to jobs of the lane
--       running_  HASH    by class: app → active jobs
--       events    STREAM  every change of state
--       clock_    HASH    by class: open, seen, paused, grace, suspect
--       leases_   ZSET    by pool: leases by deadline
--       pools_    SET     by class: one per Ollama host
-- SETS  events_max       int  the event stream's cap
--       open_gap_ms      int  a class that nobody served for longer was closed meanwhile
--       return_grace_ms  int  after that its workers may come back before their leases are taken
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function whole(number) return string.format('%d', number) end
local now_text = whole(now)

local moved, tallied = {}, {} -- state → state → lane → jobs; what → lane → times
local clocks, at_close, lines = {}, {}, {}

local function add_in(sums, of, key, change)
  local its = sums[of]
  if not its then
    its = {}
    sums[of] = its
  end
  its[key] = (its[key] or 0) + change
end

-- Counts a job of a lane out of one state and into another; one that comes from nowhere is submitted.
local function move(lane, from, to)
  from = from or 'submitted'
  local tos = moved[from]
  if not tos then
    tos = {}
    moved[from] = tos
  end
  add_in(tos, to, lane, 1)
end

-- Counts, for ever, what happened to a job: submitted, replayed; started, retried, put_back,
-- handed_back, parked, lost; and the states in which jobs end.
local function tally(what, lane)
  add_in(tallied, what, lane, 1)
end

-- Says what happened, a line each, LINES_MAX to an entry of the stream. The cap counts entries, so
-- that between a fifth of events_max (each in an entry of its own) and twice as many are kept.
local LINES_MAX = 10
local entries_max = whole(events_max / 5)

local function event(kind, id, lane, state, attempt, extra)
  local line = kind .. '\t' .. id .. '\t' .. lane .. '\t' .. state .. '\t' .. attempt
  lines[#lines + 1] = extra and line .. '\t' .. extra or line
end

-- The class's open time in ms: it stands while no worker takes or renews, and while paused.
local function clock(class)
  local found = clocks[class]
  if found then return found end
  local stored = redis.call('HMGET', clock_ .. class, 'open', 'seen', 'paused', 'grace')
  local open, seen = tonumber(stored[1] or 0), tonumber(stored[2] or now)
  local gap = now - seen
  local paused = stored[3] == '1'
  if not paused and gap > 0 and gap <= open_gap_ms then open = open + gap end
  found = { open = open, paused = paused, gap = gap, grace = tonumber(stored[4] or 0) }
  clocks[class] = found
  return found
end

-- The server's clock went back: deadlines go with it, or a dead worker's would stand for as long.
local function shift_leases(class, ms)
  for _, pool in ipairs(class == 'ollama' and redis.call('SMEMBERS', pools_ .. class) or { class }) do
    local held = redis.call('ZRANGEBYSCORE', leases_ .. pool, '(0', '+inf')
    for _, member in ipairs(held) do redis.call('ZINCRBY', leases_ .. pool, ms, member) end
  end
end

-- Leases with a deadline up to this have run out: none but those handed back while workers come
-- back from an outage that cut them all off, since their work is not lost.
local function late_by(class)
  local at = clock(class)
  return (at.grace > now or at.gap > open_gap_ms) and 0 or now
end

-- Says that a worker serves the class now.
local function tick(class)
  local at = clock(class)
  if at.gap < -1000 then shift_leases(class, at.gap) end
  if at.gap > open_gap_ms or at.grace > now + return_grace_ms then
    at.gap, at.grace = 0, now + return_grace_ms
    redis.call('HSET', clock_ .. class, 'grace', at.grace)
  end
  redis.call('HSET', clock_ .. class, 'open', whole(at.open), 'seen', now_text)
end

-- How the newest attempt's lease stands in a job's record: attempt, token, pool, start, worker. The
-- token of one that was handed back begins with `-`, of one that is over for good it is empty.
local function lease_text(job)
  return table.concat({ job.attempt, job.token, job.pool, job.start, job.worker }, '\t')
end

local function read_lease(stored, job)
  job.attempt, job.token, job.pool, job.start, job.worker =
    string.match(stored, '^(%d+)\t([^\t]*)\t([^\t]*)\t(%d*)\t(.*)$')
end

local parsed = {}

-- class, app, priority, processor, model of a lane's name.
local function lane_parts(lane)
  local found = parsed[lane]
  if not found then
    found = { string.match(lane, '^([^:]+):([^:]+):([^:]+):([^:]+):(.*)$') }
    parsed[lane] = found
  end
  return found[1], found[2], found[3], found[4], found[5]
end

-- Adds to fields of a hash; many of them in two commands, whatever their number. With `above_zero`, fields that
-- come to nothing are dropped.
local FEW = 2

local function add_all(key, changes, above_zero)
  local fields, rows, gone = {}, {}, {}
  for field, change in pairs(changes) do
    if change ~= 0 then fields[#fields + 1] = field end
  end
  local had = #fields > FEW and redis.call('HMGET', key, unpack(fields))
  for i, field in ipairs(fields) do
    local sum = had and (had[i] or 0) + changes[field] or redis.call('HINCRBY', key, field, whole(changes[field]))
    if above_zero and sum <= 0 then
      gone[#gone + 1] = field
    elseif had then
      rows[#rows + 1], rows[#rows + 2] = field, whole(sum)
    end
  end
  if rows[1] then redis.call('HSET', key, unpack(rows)) end
  if gone[1] then redis.call('HDEL', key, unpack(gone)) end
end

-- Adds up what `move` gathered: class → state → jobs, and class → app → active jobs.
local function sum_moves()
  local states, served = {}, {}
  for from, tos in pairs(moved) do
    for to, lanes in pairs(tos) do
      for lane, jobs in pairs(lanes) do
        local class, app = lane_parts(lane)
        add_in(states, class, from, from == 'submitted' and jobs or -jobs)
        add_in(states, class, to, jobs)
        if from == 'active' then add_in(served, class, app, -jobs) end
        if to == 'active' then add_in(served, class, app, jobs) end
      end
    end
  end
  return states, served
end

-- Writes what was gathered: first the counters, then what at_close holds (entries are let go last).
-- The last call of every script that moves jobs.
local function close()
  local states, served = sum_moves()
  local stand, happened = {}, {}
  for class, changes in pairs(states) do
    for state, change in pairs(changes) do stand[class .. '|' .. state] = change end
  end
  for what, lanes in pairs(tallied) do
    for lane, times in pairs(lanes) do happened[what .. '|' .. lane] = times end
  end
  add_all(counts, stand)
  add_all(tallies, happened)
  for class, changes in pairs(served) do add_all(running_ .. class, changes, true) end
  for first = 1, #lines, LINES_MAX do
    redis.call('XADD', events, 'MAXLEN', '~', entries_max, '*',
      'e', table.concat(lines, '\n', first, math.min(first + LINES_MAX - 1, #lines)))
  end
  for _, write in ipairs(at_close) do write() end
end
