//! Reads filters and pages of the lists of `datacatalog.DataCatalog`. Pure.

use proto::datacatalog as dc;
use store::{CatalogDatasetId, CatalogFilter, CatalogPage};

use crate::datasets::text;
use crate::error::{Error, Result};

/// Items of a page when the client names no number, and most of them.
const DEFAULT_PAGE: u32 = 50;
const MAX_PAGE: u32 = 1_000;

/// Size, start and order of a page.
pub(crate) fn page(options: Option<&dc::PaginationOptions>) -> Result<CatalogPage> {
    use dc::pagination_options::{SortKey, SortOrder};
    let Some(options) = options else {
        return Ok(CatalogPage { limit: DEFAULT_PAGE, ..CatalogPage::default() });
    };
    let order = SortOrder::try_from(options.sort_order)
        .map_err(|_| Error::Invalid(format!("{} is no sort order", options.sort_order)))?;
    SortKey::try_from(options.sort_key)
        .map_err(|_| Error::Invalid(format!("{} is no sort key", options.sort_key)))?;
    let limit = if options.limit == 0 { DEFAULT_PAGE } else { options.limit.min(MAX_PAGE) };
    let offset = store::ListQuery::offset_of(options.token.trim_matches(' '))?;
    Ok(CatalogPage { limit, offset, ascending: order == SortOrder::Ascending })
}

/// The token of the next page; empty once a page was not full.
pub(crate) fn next_token(page: CatalogPage, n_rows: usize) -> String {
    let is_full = n_rows as u64 >= u64::from(page.limit);
    if is_full { (page.offset + n_rows as u64).to_string() } else { String::new() }
}

/// The artifacts of a dataset that pass a filter.
pub(crate) fn artifact_filter(
    dataset: CatalogDatasetId,
    filter: Option<&dc::FilterExpression>,
) -> Result<CatalogFilter> {
    use dc::single_property_filter::PropertyFilter;
    let mut out = CatalogFilter {
        project: dataset.project,
        domain: dataset.domain,
        name: dataset.name,
        version: dataset.version,
        org: Some(dataset.org),
        ..CatalogFilter::default()
    };
    for filter in filter.map(|filter| filter.filters.as_slice()).unwrap_or_default() {
        check_operator(filter)?;
        match &filter.property_filter {
            Some(PropertyFilter::TagFilter(dc::TagPropertyFilter { property: Some(property) })) => {
                let dc::tag_property_filter::Property::TagName(name) = property;
                out.tags.push(text(name, "tag_name")?.to_owned());
            }
            Some(PropertyFilter::PartitionFilter(dc::PartitionPropertyFilter {
                property: Some(property),
            })) => {
                let dc::partition_property_filter::Property::KeyVal(pair) = property;
                let key = text(&pair.key, "the key of a partition")?.to_owned();
                out.partitions.push((key, text(&pair.value, "the value of a partition")?.to_owned()));
            }
            Some(PropertyFilter::ArtifactFilter(dc::ArtifactPropertyFilter { property: Some(property) })) => {
                let dc::artifact_property_filter::Property::ArtifactId(id) = property;
                out.artifact_id = text(id, "artifact_id")?.to_owned();
            }
            Some(PropertyFilter::DatasetFilter(_)) => {
                return Err(Error::Invalid("artifacts can't be filtered across datasets".to_owned()));
            }
            _ => return Err(Error::Invalid("a filter names no property".to_owned())),
        }
    }
    Ok(out)
}

fn check_operator(filter: &dc::SinglePropertyFilter) -> Result<()> {
    dc::single_property_filter::ComparisonOperator::try_from(filter.operator)
        .map(drop)
        .map_err(|_| Error::Invalid(format!("{} is no comparison operator", filter.operator)))
}

/// The datasets that pass a filter.
pub(crate) fn dataset_filter(filter: Option<&dc::FilterExpression>) -> Result<CatalogDatasetId> {
    use dc::dataset_property_filter::Property;
    use dc::single_property_filter::PropertyFilter;
    let mut out = CatalogDatasetId::default();
    for filter in filter.map(|filter| filter.filters.as_slice()).unwrap_or_default() {
        check_operator(filter)?;
        let Some(PropertyFilter::DatasetFilter(dc::DatasetPropertyFilter { property: Some(property) })) =
            &filter.property_filter
        else {
            return Err(Error::Invalid("datasets are filtered by their own properties only".to_owned()));
        };
        let (field, value) = match property {
            Property::Project(value) => (&mut out.project, value),
            Property::Domain(value) => (&mut out.domain, value),
            Property::Name(value) => (&mut out.name, value),
            Property::Version(value) => (&mut out.version, value),
            Property::Org(value) => (&mut out.org, value),
        };
        text(value, "the value of a filter")?.clone_into(field);
    }
    Ok(out)
}
